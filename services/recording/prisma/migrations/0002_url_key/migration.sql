-- AlterTable
ALTER TABLE "Recording" ADD COLUMN     "urlKey" TEXT NOT NULL DEFAULT '';
