//! Display names: which are valid, and the name of a participant in a call.

use std::borrow::Cow;

use super::Error;
use crate::auth::principal::Principal;
use crate::db::Database;
use crate::room::MAX_BYTES;

/// Returns whether a name may not contain `c`: it is a control character, or reorders the text around it.
pub(crate) fn is_forbidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Validates and trims a name that an operator chooses.
///
/// # Errors
///
/// [`Error::Invalid`].
pub(crate) fn validate(name: &str) -> Result<String, Error> {
    let name = name.trim();
    let invalid = |problem: &str| Error::Invalid { field: "name", problem: problem.to_owned() };
    if name.is_empty() {
        return Err(invalid("must not be blank."));
    }
    if name.len() > MAX_BYTES || name.contains(is_forbidden) {
        return Err(invalid("must be at most 255 bytes, without control characters."));
    }
    Ok(name.to_owned())
}

/// The source of the names of users in calls (`APP_USERS__DISPLAY_NAME`). Guests choose their own.
pub(crate) enum DisplayNames {
    /// The client's choice.
    Client,
    /// The account, or the token of the identity provider.
    Account(Database),
}

impl DisplayNames {
    /// Returns the name of `principal` in a call, where the client asks for `requested`.
    ///
    /// # Errors
    ///
    /// [`Error::NoDisplayName`] if the account or the token of the provider has none, [`Error::Database`].
    pub(crate) async fn resolve<'a>(&self, principal: &Principal, requested: &'a str) -> Result<Cow<'a, str>, Error> {
        let name = match (self, principal) {
            (Self::Account(_), Principal::User { identity: Some(identity), .. }) => identity.name.as_deref().map(cleaned),
            (Self::Account(database), Principal::User { id, .. }) => {
                database.name_of_user(id.to_string()).await?.as_deref().map(cleaned)
            }
            _ => return Ok(Cow::Borrowed(requested)),
        };
        name.filter(|name| !name.is_empty()).map(Cow::Owned).ok_or(Error::NoDisplayName)
    }
}

/// Removes forbidden characters, and the end of a name that is too long. Users of a provider may choose their names there.
fn cleaned(name: &str) -> String {
    let mut name: String = name.chars().filter(|c| !is_forbidden(*c)).collect();
    name.truncate(name.floor_char_boundary(MAX_BYTES));
    name.trim().to_owned()
}
