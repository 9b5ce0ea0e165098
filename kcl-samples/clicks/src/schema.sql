CREATE TABLE IF NOT EXISTS clicks (
    user TEXT NOT NULL,
    minute INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (user, minute)
);
CREATE TABLE IF NOT EXISTS dead_letters (shard TEXT, position TEXT, data BLOB, error TEXT);
CREATE TABLE IF NOT EXISTS position (
    shard TEXT PRIMARY KEY,
    number TEXT NOT NULL,
    sub_number INTEGER NOT NULL
);
