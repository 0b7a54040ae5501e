-- CreateEnum
CREATE TYPE "SessionKind" AS ENUM ('CLIENT', 'FIRST_GENERATION', 'SUPERVISOR');

-- CreateEnum
CREATE TYPE "SessionState" AS ENUM ('CREATED', 'LIVE', 'TERMINATED');

-- CreateTable
CREATE TABLE "Session" (
    "id" TEXT NOT NULL,
    "tenant" TEXT NOT NULL,
    "apiId" TEXT NOT NULL,
    "clientId" TEXT NOT NULL,
    "kind" "SessionKind" NOT NULL,
    "monitoredId" TEXT,
    "state" "SessionState" NOT NULL DEFAULT 'CREATED',
    "cause" TEXT,
    "webhookUrl" TEXT,
    "owner" TEXT,
    "createdAt" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "startedAt" TIMESTAMPTZ(3),
    "stoppedAt" TIMESTAMPTZ(3),

    CONSTRAINT "Session_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "Session_tenant_apiId_createdAt_id_idx" ON "Session"("tenant", "apiId", "createdAt", "id");

-- CreateIndex
CREATE INDEX "Session_tenant_apiId_clientId_state_idx" ON "Session"("tenant", "apiId", "clientId", "state");

-- CreateIndex
CREATE INDEX "Session_monitoredId_state_idx" ON "Session"("monitoredId", "state");

-- CreateIndex
CREATE INDEX "Session_state_idx" ON "Session"("state");
