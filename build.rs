//! Takes the two files of Swagger UI that the page at `/docs` shows out of the archive that a crate brings along. Nothing is
//! downloaded.

use std::borrow::Cow;
use std::error::Error;
use std::io::Cursor;
use std::path::PathBuf;
use std::{env, fs, io};

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    for (file, variable) in [("swagger-ui-bundle.js", "SWAGGER_UI_SCRIPT_TAG"), ("swagger-ui.css", "SWAGGER_UI_STYLE_TAG")] {
        let end = format!("/dist/{file}");
        let name = archive.file_names().flatten().find(|name| name.ends_with(&end)).map(Cow::into_owned);
        let mut found = archive.by_name(&name.ok_or_else(|| format!("Swagger UI has no {file}"))?)?;
        // The archive's own checksum tells one version of a file from another.
        println!("cargo::rustc-env={variable}=\"{:08x}\"", found.crc32());
        io::copy(&mut found, &mut fs::File::create(out.join(file))?)?;
    }
    Ok(())
}
