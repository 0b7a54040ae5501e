-- CreateEnum
CREATE TYPE "RecordingState" AS ENUM ('STARTING', 'RECORDING', 'WAITING', 'FINISHING', 'FINISHED', 'DELIVERING', 'DELIVERED', 'FAILED');

-- CreateTable
CREATE TABLE "Recording" (
    "id" TEXT NOT NULL,
    "tenant" TEXT NOT NULL,
    "streamName" TEXT NOT NULL,
    "name" TEXT NOT NULL DEFAULT '',
    "container" TEXT,
    "state" "RecordingState" NOT NULL DEFAULT 'STARTING',
    "reason" TEXT NOT NULL DEFAULT '',
    "destination" JSONB,
    "webhookUrl" TEXT,
    "labels" JSONB NOT NULL DEFAULT '{}',
    "splitMs" INTEGER,
    "splitBytes" BIGINT,
    "splitOf" TEXT,
    "splitIndex" INTEGER NOT NULL DEFAULT 0,
    "facts" JSONB NOT NULL DEFAULT '{}',
    "durationMs" INTEGER,
    "sizeBytes" BIGINT,
    "wanted" BOOLEAN NOT NULL DEFAULT true,
    "deleted" TEXT,
    "owner" TEXT,
    "epoch" BIGINT NOT NULL DEFAULT 0,
    "startedAt" TIMESTAMPTZ(3),
    "firstFrameAt" TIMESTAMPTZ(3),
    "firstPeerFrameAt" TIMESTAMPTZ(3),
    "stoppedAt" TIMESTAMPTZ(3),
    "finishedAt" TIMESTAMPTZ(3),
    "createdAt" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "Recording_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "Recording_tenant_createdAt_idx" ON "Recording"("tenant", "createdAt");

-- CreateIndex
CREATE INDEX "Recording_state_idx" ON "Recording"("state");
