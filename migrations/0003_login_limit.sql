-- One counter of failed logins for each scope, written by one upsert. Successes stay known; failures begin at zero.

DROP INDEX login_failures_began_at;
ALTER TABLE login_failures DROP COLUMN version;
ALTER TABLE login_failures DROP COLUMN failures;
ALTER TABLE login_failures DROP COLUMN checking;
ALTER TABLE login_failures DROP COLUMN began_at;
ALTER TABLE login_failures DROP COLUMN last_at;
ALTER TABLE login_failures DROP COLUMN blocked_until;

-- The last failure; 0 for none.
ALTER TABLE login_failures ADD COLUMN failed_at BIGINT NOT NULL DEFAULT 0;
-- When all failures are forgotten. Each failure puts it off by the same time.
ALTER TABLE login_failures ADD COLUMN forgotten_at BIGINT NOT NULL DEFAULT 0;

CREATE INDEX login_failures_forgotten_at ON login_failures (forgotten_at);
