-- AlterTable
ALTER TABLE "ApiKey" ADD COLUMN     "apiId" TEXT;
