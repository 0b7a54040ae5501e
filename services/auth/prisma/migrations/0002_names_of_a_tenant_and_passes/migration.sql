-- DropIndex
DROP INDEX "Application_tenantName_idx";

-- DropIndex
DROP INDEX "User_tenantName_idx";

-- DropIndex
DROP INDEX "User_username_key";

-- AlterTable
ALTER TABLE "Application" DROP CONSTRAINT "Application_pkey",
ADD CONSTRAINT "Application_pkey" PRIMARY KEY ("tenantName", "appKey");

-- AlterTable
ALTER TABLE "Token" ADD COLUMN     "passHash" TEXT;

-- CreateIndex
CREATE INDEX "Application_appKey_idx" ON "Application"("appKey");

-- CreateIndex
CREATE UNIQUE INDEX "Token_passHash_key" ON "Token"("passHash");

-- CreateIndex
CREATE INDEX "User_username_idx" ON "User"("username");

-- CreateIndex
CREATE UNIQUE INDEX "User_tenantName_username_key" ON "User"("tenantName", "username");
