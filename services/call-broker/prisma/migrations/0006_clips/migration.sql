CREATE TABLE "Clip" (
    "number" SERIAL NOT NULL,
    "recordingId" TEXT NOT NULL,
    "callId" TEXT NOT NULL,
    "cid" BIGINT NOT NULL,
    "createdAt" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "Clip_pkey" PRIMARY KEY ("number")
);

CREATE UNIQUE INDEX "Clip_recordingId_key" ON "Clip"("recordingId");

CREATE INDEX "Clip_callId_idx" ON "Clip"("callId");
