//! Can the hub be asked, and does it take the token?

use super::remote::Remote;
use super::{HubSettings, HubSpec};

/// What a glance at the hub told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// `HF_HUB_OFFLINE` forbids to look.
    Offline,
    /// It answers, and takes the token where there is one.
    Open,
    /// It answers, and refuses the token.
    TokenRefused,
    /// It does not answer.
    Unreachable(String),
}

impl Access {
    /// Looks, for a few seconds at most.
    pub(super) fn of(settings: &HubSettings) -> Self {
        if settings.offline {
            return Self::Offline;
        }
        // The question is about no model, so any id does.
        let spec = HubSpec { id: "owner/name".to_owned(), revision: None };
        let asked = Remote::new(settings, &spec).map_err(|error| error.to_string());
        match asked.and_then(|remote| remote.glance().map_err(|error| error.to_string())) {
            Ok(401 | 403) if settings.token.is_some() => Self::TokenRefused,
            Ok(_) => Self::Open,
            Err(reason) => Self::Unreachable(reason),
        }
    }
}
