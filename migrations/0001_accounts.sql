-- Accounts and their sessions. One set for SQLite and PostgreSQL: TEXT and BIGINT only, identifiers and times made by us.
-- Times are milliseconds since 1970-01-01 UTC.

CREATE TABLE users (
    id            TEXT   NOT NULL PRIMARY KEY,
    -- In lower case: one mailbox, one account.
    email         TEXT   NOT NULL UNIQUE,
    name          TEXT   NOT NULL,
    -- An argon2id PHC string, with its parameters and salt.
    password_hash TEXT   NOT NULL,
    created_at    BIGINT NOT NULL,
    -- NULL while the account may sign in.
    disabled_at   BIGINT
);

-- One row a sign-in: the family of refresh tokens that descend from it, and the sid of its user tokens.
CREATE TABLE sessions (
    id         TEXT   NOT NULL PRIMARY KEY,
    user_id    TEXT   NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    -- NULL while the session is good.
    revoked_at BIGINT
);

CREATE TABLE refresh_tokens (
    -- The token's SHA-256; the token itself is with the client alone.
    hash       TEXT   NOT NULL PRIMARY KEY,
    session_id TEXT   NOT NULL REFERENCES sessions (id),
    created_at BIGINT NOT NULL,
    -- NULL until it has been exchanged for its successor.
    spent_at   BIGINT
);

CREATE INDEX sessions_user_id ON sessions (user_id);
CREATE INDEX sessions_expires_at ON sessions (expires_at);
-- Each server asks every half second which sessions were revoked lately.
CREATE INDEX sessions_revoked_at ON sessions (revoked_at);
CREATE INDEX refresh_tokens_session_id ON refresh_tokens (session_id);

-- Failed logins, counted by account and address, by account and by address. A scope is the SHA-256 of those.
CREATE TABLE login_failures (
    scope         TEXT   NOT NULL PRIMARY KEY,
    -- Changes with every write, so that a writer notices another one.
    version       BIGINT NOT NULL,
    failures      BIGINT NOT NULL,
    -- The last failure.
    last_at       BIGINT NOT NULL,
    -- Logins that are being checked, and when the first of them began: those that never end are forgotten after a while.
    checking      BIGINT NOT NULL,
    began_at      BIGINT NOT NULL,
    -- No password is checked before this.
    blocked_until BIGINT NOT NULL,
    -- When a login last succeeded here; 0 for never.
    succeeded_at  BIGINT NOT NULL
);

CREATE INDEX login_failures_began_at ON login_failures (began_at);
