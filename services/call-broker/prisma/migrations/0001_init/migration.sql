-- CreateTable
CREATE TABLE "App" (
    "id" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "tenant" TEXT NOT NULL,
    "webhook" TEXT NOT NULL DEFAULT '',
    "stateWebhook" TEXT NOT NULL DEFAULT '',
    "demo" BOOLEAN NOT NULL DEFAULT false,
    "createdAt" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "App_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "CidRange" (
    "first" BIGINT NOT NULL,
    "last" BIGINT NOT NULL,
    "usage" INTEGER NOT NULL,
    "appId" TEXT NOT NULL,

    CONSTRAINT "CidRange_pkey" PRIMARY KEY ("first"),
    CONSTRAINT "CidRange_no_overlap" EXCLUDE USING gist (int8range("first", "last", '[]') WITH &&)
);

-- CreateTable
CREATE TABLE "Device" (
    "cid" BIGINT NOT NULL,
    "seenAt" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "Device_pkey" PRIMARY KEY ("cid")
);

-- CreateTable
CREATE TABLE "DeviceGrant" (
    "cid" BIGINT NOT NULL,
    "appId" TEXT NOT NULL,
    "grantedAt" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "DeviceGrant_pkey" PRIMARY KEY ("cid","appId")
);

-- CreateTable
CREATE TABLE "Cover" (
    "cid" BIGINT NOT NULL,
    "contentType" TEXT NOT NULL,
    "image" BYTEA NOT NULL,
    "takenAt" TIMESTAMPTZ(3) NOT NULL,
    "uploadedAt" TIMESTAMPTZ(3),

    CONSTRAINT "Cover_pkey" PRIMARY KEY ("cid")
);

-- CreateIndex
CREATE INDEX "App_tenant_id_idx" ON "App"("tenant", "id");

-- CreateIndex
CREATE INDEX "CidRange_appId_idx" ON "CidRange"("appId");

-- CreateIndex
CREATE INDEX "DeviceGrant_appId_idx" ON "DeviceGrant"("appId");

-- AddForeignKey
ALTER TABLE "CidRange" ADD CONSTRAINT "CidRange_appId_fkey" FOREIGN KEY ("appId") REFERENCES "App"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "DeviceGrant" ADD CONSTRAINT "DeviceGrant_appId_fkey" FOREIGN KEY ("appId") REFERENCES "App"("id") ON DELETE CASCADE ON UPDATE CASCADE;
