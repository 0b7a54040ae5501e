-- CreateTable
CREATE TABLE "Robot" (
    "tenant" TEXT NOT NULL,
    "id" TEXT NOT NULL,
    "defaultCamera" TEXT,
    "demo" BOOLEAN NOT NULL DEFAULT false,
    "createdAt" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "Robot_pkey" PRIMARY KEY ("tenant","id")
);

-- CreateTable
CREATE TABLE "Camera" (
    "tenant" TEXT NOT NULL,
    "robotId" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "rtspUrl" TEXT,
    "pinned" BOOLEAN NOT NULL DEFAULT false,
    "createdAt" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "Camera_pkey" PRIMARY KEY ("tenant","robotId","name")
);

-- AddForeignKey
ALTER TABLE "Camera" ADD CONSTRAINT "Camera_tenant_robotId_fkey" FOREIGN KEY ("tenant", "robotId") REFERENCES "Robot"("tenant", "id") ON DELETE CASCADE ON UPDATE CASCADE;
