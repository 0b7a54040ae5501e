CREATE TABLE "CallRecord" (
    "id" TEXT NOT NULL,
    "tenant" TEXT NOT NULL,
    "appId" TEXT NOT NULL,
    "caller" BIGINT NOT NULL,
    "callee" BIGINT,
    "startedAt" TIMESTAMPTZ(3) NOT NULL,
    "answeredAt" TIMESTAMPTZ(3),
    "establishedAt" TIMESTAMPTZ(3),
    "endedAt" TIMESTAMPTZ(3) NOT NULL,
    "cause" TEXT NOT NULL,
    "quality" JSONB NOT NULL,
    "isRecorded" BOOLEAN NOT NULL DEFAULT false,

    CONSTRAINT "CallRecord_pkey" PRIMARY KEY ("id")
);

CREATE INDEX "CallRecord_tenant_endedAt_id_idx" ON "CallRecord"("tenant", "endedAt", "id");
