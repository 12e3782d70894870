-- Version 1 of the review log. Once released it stays as it is: a later version is a step in migrations.py.

-- What happened, never changed afterwards. Events are ordered by (day, at, device, seq).
CREATE TABLE events (
  id      TEXT PRIMARY KEY NOT NULL,      -- uuid4, 32 hex digits: the same event has the same id in every copy
  at      TEXT NOT NULL,                  -- UTC, 2026-08-01T09:30:00.123Z
  day     TEXT NOT NULL,                  -- the person's own day, 2026-08-01
  device  TEXT NOT NULL,
  seq     INTEGER NOT NULL,               -- 1, 2, 3 … on each device
  kind    TEXT NOT NULL,                  -- answer, undo, suspend, unsuspend, plan, track …
  card    TEXT NOT NULL DEFAULT '',       -- empty where no card is meant
  way     TEXT NOT NULL DEFAULT '',       -- way of asking: whole, points, predict, drill …
  grade   INTEGER,                        -- 0–5
  points  TEXT NOT NULL DEFAULT '[]',     -- JSON: ids of the key points ticked
  asked   TEXT NOT NULL DEFAULT '[]',     -- JSON: ids of the key points asked
  seconds REAL,
  undoes  TEXT,                           -- id of the event that this one takes back
  data    TEXT NOT NULL DEFAULT '{}',     -- JSON: whatever later kinds need
  CHECK (kind <> 'answer' OR (card <> '' AND grade IS NOT NULL AND grade IN (0, 1, 2, 3, 4, 5))),
  CHECK (kind <> 'undo' OR undoes IS NOT NULL)
) WITHOUT ROWID;

-- Not unique: a log that was copied by hand, or restored from a copy, goes on counting under the same device.
CREATE INDEX events_by_device ON events (device, seq);
CREATE INDEX events_by_card ON events (card);
CREATE INDEX undos ON events (undoes) WHERE kind = 'undo';

CREATE TRIGGER events_no_update BEFORE UPDATE ON events
BEGIN
  SELECT RAISE(ABORT, 'the review log is append-only');
END;

CREATE TRIGGER events_no_delete BEFORE DELETE ON events
BEGIN
  SELECT RAISE(ABORT, 'the review log is append-only');
END;

-- INSERT OR REPLACE would delete without asking the trigger above.
CREATE TRIGGER events_no_replace BEFORE INSERT ON events WHEN EXISTS (SELECT 1 FROM events WHERE id = NEW.id)
BEGIN
  SELECT RAISE(ABORT, 'the review log is append-only');
END;

-- Where each card stands: the fold of its events, kept so that a session starts without reading the log.
CREATE TABLE cards (
  card       TEXT PRIMARY KEY NOT NULL,
  ef         INTEGER NOT NULL,            -- hundredths
  repetition INTEGER NOT NULL,
  interval   INTEGER NOT NULL,            -- days
  drill      INTEGER NOT NULL,
  due        TEXT NOT NULL,
  last_day   TEXT NOT NULL,
  reviews    INTEGER NOT NULL,
  lapses     INTEGER NOT NULL,
  missed     TEXT NOT NULL,               -- JSON: ids of key points
  suspended  INTEGER NOT NULL,
  last_grade INTEGER
) WITHOUT ROWID;

CREATE TABLE meta (
  key   TEXT PRIMARY KEY NOT NULL,        -- device, created, probed
  value TEXT NOT NULL
) WITHOUT ROWID;
