-- Who had which names and ports when the edge was last there. It has no
-- references: a user who is removed in the same moment must not undo the rest.
CREATE TABLE holds (
  port INTEGER NOT NULL,          -- 0: the name
  name TEXT NOT NULL,
  user TEXT NOT NULL,
  kept INTEGER NOT NULL,          -- 1: from others
  last INTEGER,
  PRIMARY KEY (port, name)
) STRICT, WITHOUT ROWID;
