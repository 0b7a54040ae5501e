-- CreateEnum
CREATE TYPE "RelayDirection" AS ENUM ('PUSH', 'PULL');

-- CreateEnum
CREATE TYPE "RelayState" AS ENUM ('NEW', 'RUNNING', 'WAITING', 'FAILED');

-- CreateTable
CREATE TABLE "Relay" (
    "id" TEXT NOT NULL,
    "tenant" TEXT NOT NULL,
    "direction" "RelayDirection" NOT NULL,
    "uri" TEXT NOT NULL,
    "localStreamName" TEXT NOT NULL,
    "remoteStreamName" TEXT NOT NULL,
    "claim" TEXT,
    "state" "RelayState" NOT NULL DEFAULT 'NEW',
    "reason" TEXT NOT NULL DEFAULT '',
    "retries" INTEGER NOT NULL DEFAULT 0,
    "localMediaSessionId" TEXT,
    "remoteMediaSessionId" TEXT,
    "holder" TEXT,
    "wanted" BOOLEAN NOT NULL DEFAULT true,
    "createdAt" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "Relay_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "Relay_claim_key" ON "Relay"("claim");

-- CreateIndex
CREATE INDEX "Relay_tenant_idx" ON "Relay"("tenant");

-- CreateIndex
CREATE INDEX "Relay_state_idx" ON "Relay"("state");
