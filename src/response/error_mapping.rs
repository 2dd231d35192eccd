//! Maps the errors of each module to the client's. Causes are logged by the module, or here.

use super::ApiError;
use crate::auth::invitation;
use crate::auth::room_access::AccessError;
use crate::{accounts, admin_control, catch_up, db, room, summaries};

impl From<room::Error> for ApiError {
    fn from(error: room::Error) -> Self {
        match error {
            room::Error::Blank => Self::RoomRequired,
            room::Error::Invalid => Self::bad_request("Room name is not valid."),
        }
    }
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Forbidden => Self::Forbidden,
            // Logged by the webhook.
            AccessError::Failed => Self::Internal,
        }
    }
}

impl From<db::Error> for ApiError {
    fn from(error: db::Error) -> Self {
        log::error!(cause:% = error; "database request failed");
        Self::Internal
    }
}

impl From<invitation::Error> for ApiError {
    fn from(error: invitation::Error) -> Self {
        match error {
            invitation::Error::Forbidden => Self::Forbidden,
            invitation::Error::Invalid(_) | invitation::Error::MakerRevoked => Self::InvalidToken,
            invitation::Error::Database(error) => error.into(),
        }
    }
}

impl From<admin_control::Error> for ApiError {
    fn from(error: admin_control::Error) -> Self {
        match error {
            admin_control::Error::NotFound => Self::UnknownRoom,
            admin_control::Error::TooManyCalls | admin_control::Error::TooManyFiles => Self::Overloaded,
            // Logged by the client.
            _ => Self::Internal,
        }
    }
}

impl From<catch_up::Error> for ApiError {
    fn from(error: catch_up::Error) -> Self {
        match error {
            catch_up::Error::NoCatchUp(reason) => reason.map_or(Self::UnknownRoom, Self::NoCatchUp),
            catch_up::Error::AdminControl(error) => error.into(),
        }
    }
}

impl From<summaries::Error> for ApiError {
    fn from(error: summaries::Error) -> Self {
        match error {
            summaries::Error::NoFile => Self::UnknownRoom,
            summaries::Error::AdminControl(error) => error.into(),
            // Logged by the module.
            summaries::Error::BadRecord(_) | summaries::Error::StoreFailed(_) => Self::Internal,
        }
    }
}

impl From<accounts::Error> for ApiError {
    fn from(error: accounts::Error) -> Self {
        match error {
            accounts::Error::WrongCredentials => Self::Unauthorized,
            accounts::Error::TicketReused => Self::InvalidToken,
            accounts::Error::NoDisplayName => {
                log::warn!(cause:% = error; "access denied: APP_USERS__DISPLAY_NAME is account");
                Self::Forbidden
            }
            accounts::Error::Invalid { .. } => Self::BadRequest(error.to_string().into()),
            accounts::Error::Overloaded => Self::Overloaded,
            accounts::Error::Throttled(wait) => Self::Throttled(wait),
            accounts::Error::EmailTaken
            | accounts::Error::NoSuchAccount
            | accounts::Error::Database(_)
            | accounts::Error::Hash => {
                log::error!(cause:% = error; "account request failed");
                Self::Internal
            }
        }
    }
}
