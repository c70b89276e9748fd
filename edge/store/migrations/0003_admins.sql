-- Whom the edge was last told to be its administrators, for those who work on
-- the store beside it. They need not be there.
CREATE TABLE admins (
  user TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;
