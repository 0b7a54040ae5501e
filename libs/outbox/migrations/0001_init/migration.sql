CREATE SEQUENCE "place" AS BIGINT;

CREATE TABLE "message" (
    "id" TEXT NOT NULL,
    "place" BIGINT NOT NULL DEFAULT nextval('"place"'),
    "queue" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "scope" TEXT NOT NULL,
    "payload" TEXT NOT NULL,
    "state" TEXT NOT NULL DEFAULT 'waiting',
    "attempts" INTEGER NOT NULL DEFAULT 0,
    "due_at" TIMESTAMPTZ(3) NOT NULL DEFAULT now(),
    "give_up_at" TIMESTAMPTZ(3) NOT NULL,
    "lease" UUID,
    "note" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT now(),
    "ended_at" TIMESTAMPTZ(3),
    CONSTRAINT "message_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "message_state" CHECK ("state" IN ('waiting', 'delivered', 'dead'))
);

CREATE INDEX "message_due" ON "message" ("queue", "due_at") WHERE "state" = 'waiting';
CREATE INDEX "message_in_order" ON "message" ("queue", "key", "place") WHERE "state" = 'waiting';
CREATE INDEX "message_ended" ON "message" ("ended_at") WHERE "state" <> 'waiting';
CREATE INDEX "message_listed" ON "message" ("scope", "place");

CREATE TABLE "attempt" (
    "id" UUID NOT NULL,
    "message_id" TEXT NOT NULL,
    "instance" TEXT NOT NULL,
    "started_at" TIMESTAMPTZ(3) NOT NULL DEFAULT now(),
    "duration_ms" INTEGER,
    "result" TEXT,
    "status" INTEGER,
    "words" TEXT,
    CONSTRAINT "attempt_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "attempt_message" FOREIGN KEY ("message_id") REFERENCES "message" ("id") ON DELETE CASCADE
);

CREATE INDEX "attempt_of_message" ON "attempt" ("message_id", "started_at");
