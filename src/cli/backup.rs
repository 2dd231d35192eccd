//! `backup`: copies the SQLite database to a new file.

use std::path::Path;

use super::Error;
use crate::app;
use crate::config::Config;
use crate::db;

pub(super) fn run(config: Option<&Path>, target: &Path) -> Result<(), Error> {
    let config = Config::load(&super::environment::read()?, config)?;
    super::block_on(async {
        db::backup(&app::database_config(&config), target).await?;
        super::print(&format!("the database is in {}, and its integrity is verified\n", target.display()))
    })
}
