-- CreateEnum
CREATE TYPE "ApplicationPolicy" AS ENUM ('OPEN', 'TOKEN', 'HOOK');

-- CreateTable
CREATE TABLE "Tenant" (
    "name" TEXT NOT NULL,
    "createdAt" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "Tenant_pkey" PRIMARY KEY ("name")
);

-- CreateTable
CREATE TABLE "User" (
    "id" TEXT NOT NULL,
    "tenantName" TEXT NOT NULL,
    "username" TEXT NOT NULL,
    "passwordHash" TEXT NOT NULL,
    "grants" JSONB NOT NULL,
    "locked" BOOLEAN NOT NULL DEFAULT false,
    "demo" BOOLEAN NOT NULL DEFAULT false,
    "createdAt" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "User_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "Application" (
    "appKey" TEXT NOT NULL,
    "tenantName" TEXT NOT NULL,
    "policy" "ApplicationPolicy" NOT NULL,
    "hookUrl" TEXT,
    "hookSecret" TEXT,
    "demo" BOOLEAN NOT NULL DEFAULT false,
    "createdAt" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "Application_pkey" PRIMARY KEY ("appKey")
);

-- CreateTable
CREATE TABLE "ApiKey" (
    "id" TEXT NOT NULL,
    "tenantName" TEXT NOT NULL,
    "label" TEXT NOT NULL,
    "keyHash" BYTEA NOT NULL,
    "grants" JSONB NOT NULL,
    "demo" BOOLEAN NOT NULL DEFAULT false,
    "createdAt" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expiresAt" TIMESTAMPTZ(3),

    CONSTRAINT "ApiKey_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "Token" (
    "id" TEXT NOT NULL,
    "tenantName" TEXT NOT NULL,
    "subject" TEXT NOT NULL,
    "issuer" TEXT NOT NULL,
    "grants" JSONB NOT NULL,
    "issuedAt" TIMESTAMPTZ(3) NOT NULL,
    "expiresAt" TIMESTAMPTZ(3) NOT NULL,
    "revokedAt" TIMESTAMPTZ(3),

    CONSTRAINT "Token_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "User_username_key" ON "User"("username");

-- CreateIndex
CREATE INDEX "User_tenantName_idx" ON "User"("tenantName");

-- CreateIndex
CREATE INDEX "Application_tenantName_idx" ON "Application"("tenantName");

-- CreateIndex
CREATE UNIQUE INDEX "ApiKey_tenantName_label_key" ON "ApiKey"("tenantName", "label");

-- CreateIndex
CREATE INDEX "Token_tenantName_subject_idx" ON "Token"("tenantName", "subject");

-- CreateIndex
CREATE INDEX "Token_issuer_idx" ON "Token"("issuer");

-- CreateIndex
CREATE INDEX "Token_expiresAt_idx" ON "Token"("expiresAt");

-- AddForeignKey
ALTER TABLE "User" ADD CONSTRAINT "User_tenantName_fkey" FOREIGN KEY ("tenantName") REFERENCES "Tenant"("name") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "Application" ADD CONSTRAINT "Application_tenantName_fkey" FOREIGN KEY ("tenantName") REFERENCES "Tenant"("name") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "ApiKey" ADD CONSTRAINT "ApiKey_tenantName_fkey" FOREIGN KEY ("tenantName") REFERENCES "Tenant"("name") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "Token" ADD CONSTRAINT "Token_tenantName_fkey" FOREIGN KEY ("tenantName") REFERENCES "Tenant"("name") ON DELETE CASCADE ON UPDATE CASCADE;
