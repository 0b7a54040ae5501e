ALTER TABLE "App" ADD COLUMN "wakeHook" TEXT NOT NULL DEFAULT '';

CREATE TABLE "MessageQueue" (
    "cid" BIGINT NOT NULL,
    "last" BIGINT NOT NULL,

    CONSTRAINT "MessageQueue_pkey" PRIMARY KEY ("cid")
);

CREATE TABLE "DeviceMessage" (
    "cid" BIGINT NOT NULL,
    "place" BIGINT NOT NULL,
    "id" TEXT NOT NULL,
    "sender" BIGINT NOT NULL,
    "msg" TEXT NOT NULL,
    "appId" TEXT NOT NULL,
    "createdAt" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "DeviceMessage_pkey" PRIMARY KEY ("cid", "place")
);

CREATE TABLE "MessagePush" (
    "appId" TEXT NOT NULL,
    "id" TEXT NOT NULL,
    "createdAt" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "MessagePush_pkey" PRIMARY KEY ("appId", "id")
);

CREATE UNIQUE INDEX "DeviceMessage_id_key" ON "DeviceMessage"("id");

CREATE INDEX "DeviceMessage_createdAt_idx" ON "DeviceMessage"("createdAt");

CREATE INDEX "MessagePush_createdAt_idx" ON "MessagePush"("createdAt");
