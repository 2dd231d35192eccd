//! Account administration by the command line. Running servers notice within two seconds.

use super::login_limit::FailureScopes;
use super::{Error, display_name, email, password, password_policy};
use crate::clock::Clock;
use crate::db::{Database, NewUser};
use crate::secret;

/// Adds an account, with a password of at least `min_password` characters.
///
/// # Errors
///
/// [`Error::Invalid`], [`Error::EmailTaken`], [`Error::Overloaded`], [`Error::Hash`], [`Error::Database`].
pub async fn add(
    database: &Database,
    email: &str,
    name: &str,
    password: &str,
    min_password: usize,
    clock: &Clock,
) -> Result<(), Error> {
    let (email, name) = (email::validate_new(email)?, display_name::validate(name)?);
    password_policy::check(password, min_password, &[&email, &name])?;
    let password_hash = password::hash(password)?;
    let user = NewUser { id: secret::random_id(), email, name, password_hash, created_at: clock.unix_milliseconds() };
    Ok(database.insert_user(user).await?)
}

/// Disables an account, and revokes its sessions and invitations.
///
/// # Errors
///
/// [`Error::NoSuchAccount`], [`Error::Invalid`], [`Error::Database`].
pub async fn disable(database: &Database, email: &str, clock: &Clock) -> Result<(), Error> {
    let is_found = database.disable_user(email::normalise(email)?, clock.unix_milliseconds()).await?;
    is_found.then_some(()).ok_or(Error::NoSuchAccount)
}

/// Enables an account.
///
/// # Errors
///
/// [`Error::NoSuchAccount`], [`Error::Invalid`], [`Error::Database`].
pub async fn enable(database: &Database, email: &str) -> Result<(), Error> {
    let is_found = database.enable_user(email::normalise(email)?).await?;
    is_found.then_some(()).ok_or(Error::NoSuchAccount)
}

/// Deletes an account, its sessions, its invitations and its counts of failed logins.
///
/// Returns the numbers of deleted sessions and counters.
///
/// # Errors
///
/// [`Error::NoSuchAccount`], [`Error::Invalid`], [`Error::Database`].
pub async fn delete(database: &Database, email: &str, clock: &Clock) -> Result<(u64, u64), Error> {
    let email = email::normalise(email)?;
    // Committed first, so that no login or refresh in progress adds a session or a token to it.
    disable(database, &email, clock).await?;
    let scope = FailureScopes::account(&email);
    Ok(database.delete_user(email, scope, clock.unix_milliseconds()).await?)
}

/// Changes an account's password, and revokes its sessions and invitations.
///
/// # Errors
///
/// As [`add`], with [`Error::NoSuchAccount`] in place of [`Error::EmailTaken`].
pub async fn set_password(
    database: &Database,
    email: &str,
    password: &str,
    min_password: usize,
    clock: &Clock,
) -> Result<(), Error> {
    let email = email::normalise(email)?;
    let user = database.user_by_email(email.clone()).await?.ok_or(Error::NoSuchAccount)?;
    password_policy::check(password, min_password, &[&email, &user.name])?;
    let hash = password::hash(password)?;
    let is_found = database.set_password(email, hash, clock.unix_milliseconds()).await?;
    is_found.then_some(()).ok_or(Error::NoSuchAccount)
}
