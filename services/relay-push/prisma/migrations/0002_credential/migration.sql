-- AlterTable
ALTER TABLE "Relay" ADD COLUMN "credential" JSONB;
