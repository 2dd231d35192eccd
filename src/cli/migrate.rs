//! `migrate`: brings the database's schema up to date.

use std::path::Path;

use super::Error;
use crate::app;
use crate::config::Config;
use crate::db::Database;

pub(super) fn run(config: Option<&Path>) -> Result<(), Error> {
    let config = Config::load(&super::environment::read()?, config)?;
    super::warn_if_root(&config);
    super::block_on(async {
        Database::open(app::database_config(&config)).await?;
        super::print("the database's schema is up to date\n")
    })
}
