-- Times are milliseconds since 1970. What is NULL has not happened.

CREATE TABLE users (
  seq          INTEGER PRIMARY KEY AUTOINCREMENT,
  id           TEXT NOT NULL UNIQUE,
  name         TEXT NOT NULL UNIQUE COLLATE NOCASE,
  created      INTEGER NOT NULL,
  tunnels      INTEGER CHECK (tunnels >= 0),      -- NULL: the edge's default
  reservations INTEGER CHECK (reservations >= 0)
) STRICT;

CREATE TABLE keys (
  seq     INTEGER PRIMARY KEY AUTOINCREMENT,
  id      TEXT NOT NULL UNIQUE,
  hash    BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
  user    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  name    TEXT NOT NULL,
  prefix  TEXT NOT NULL,
  last4   TEXT NOT NULL,
  created INTEGER NOT NULL,
  expires INTEGER,
  used    INTEGER,
  revoked INTEGER
) STRICT;
CREATE INDEX keys_user ON keys (user);

CREATE TABLE reservations (
  name    TEXT NOT NULL PRIMARY KEY,
  user    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX reservations_user ON reservations (user);

-- Anybody may ask for a host, one user can have it.
CREATE TABLE domains (
  host     TEXT NOT NULL,
  user     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  token    TEXT NOT NULL,
  created  INTEGER NOT NULL,
  verified INTEGER,
  checked  INTEGER,
  failing  INTEGER,
  problem  TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (host, user)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX domains_verified ON domains (host) WHERE verified IS NOT NULL;
CREATE INDEX domains_user ON domains (user);

-- The log outlives the users in it.
CREATE TABLE audit (
  id     INTEGER PRIMARY KEY AUTOINCREMENT,
  time   INTEGER NOT NULL,
  actor  TEXT NOT NULL,
  action TEXT NOT NULL,
  object TEXT NOT NULL,
  detail TEXT NOT NULL
) STRICT;
CREATE INDEX audit_time ON audit (time);

CREATE TABLE usage (
  hour        INTEGER NOT NULL,
  user        TEXT NOT NULL,
  tunnel      TEXT NOT NULL,
  requests    INTEGER NOT NULL CHECK (requests >= 0),
  connections INTEGER NOT NULL CHECK (connections >= 0),
  bytes_in    INTEGER NOT NULL CHECK (bytes_in >= 0),
  bytes_out   INTEGER NOT NULL CHECK (bytes_out >= 0),
  PRIMARY KEY (hour, user, tunnel)
) STRICT, WITHOUT ROWID;

-- All usage ever in one row: hours are pruned.
CREATE TABLE total (
  one         INTEGER PRIMARY KEY CHECK (one = 1),
  requests    INTEGER NOT NULL,
  connections INTEGER NOT NULL,
  bytes_in    INTEGER NOT NULL,
  bytes_out   INTEGER NOT NULL
) STRICT;
INSERT INTO total VALUES (1, 0, 0, 0, 0);

-- Written to find out whether the store can be written again.
CREATE TABLE probe (
  one  INTEGER PRIMARY KEY CHECK (one = 1),
  time INTEGER NOT NULL
) STRICT;
