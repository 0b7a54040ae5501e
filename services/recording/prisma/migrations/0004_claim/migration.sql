-- AlterTable
ALTER TABLE "Recording" ADD COLUMN     "claim" TEXT;

-- CreateIndex
CREATE UNIQUE INDEX "Recording_tenant_claim_key" ON "Recording"("tenant", "claim");
