//! Compresses the files that the server serves, so that no request has to: pages, their assets, the OpenAPI document.
//!
//! Writes them to `OUT_DIR`, with `static_files.rs`, the table that `src/response/static_file.rs` includes.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;
use xxhash_rust::xxh3::xxh3_128;

/// The bundles: the folder, its name in URLs, and the start of the addresses in its page that get a version.
const BUNDLES: [(&str, &str, &str); 2] =
    [("static/console", "console", "\"/console/"), ("static/swagger-ui", "docs", "\"docs/")];
/// The file of a bundle that is its page.
const PAGE: &str = "index.html";

fn main() -> io::Result<()> {
    let mut table = Table { folder: env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default(), rows: String::new() };
    for (folder, name, prefix) in BUNDLES {
        println!("cargo:rerun-if-changed={folder}");
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            files.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
        }
        files.sort();
        // One version for the whole bundle, because its scripts import each other.
        let version = hash(&files.iter().flat_map(|(_, bytes)| xxh3_128(bytes).to_be_bytes()).collect::<Vec<_>>());
        for (file, bytes) in files {
            let Some(media_type) = media_type(&file) else { continue };
            if file == PAGE {
                let page = String::from_utf8_lossy(&bytes).replace(prefix, &format!("{prefix}{version}/"));
                table.add(&format!("{name}/{PAGE}"), media_type, page.as_bytes())?;
            } else {
                table.add(&format!("{name}/{version}/{file}"), media_type, &bytes)?;
            }
        }
    }
    println!("cargo:rerun-if-changed=docs/openapi.json");
    table.add("openapi.json", "application/json", &fs::read("docs/openapi.json")?)?;
    fs::write(table.folder.join("static_files.rs"), format!("&[{}]", table.rows))
}

/// The rows of `static_files.rs`.
struct Table {
    folder: PathBuf,
    rows: String,
}

impl Table {
    /// Writes a file, plain and compressed, and its row.
    fn add(&mut self, path: &str, media_type: &str, bytes: &[u8]) -> io::Result<()> {
        let hash = hash(bytes);
        fs::write(self.folder.join(&hash), bytes)?;
        let mut encoder = GzEncoder::new(fs::File::create(self.folder.join(format!("{hash}.gz")))?, Compression::best());
        encoder.write_all(bytes)?;
        encoder.finish()?;
        // The tag's suffix is Apache's, which `response/cached.rs` knows.
        let row = format!(
            r#"StaticFile {{
                path: {path:?},
                media_type: {media_type:?},
                plain: ("\"{hash}\"", include_bytes!(concat!(env!("OUT_DIR"), "/{hash}"))),
                gzip: ("\"{hash}-gzip\"", include_bytes!(concat!(env!("OUT_DIR"), "/{hash}.gz"))),
            }},"#
        );
        self.rows.push_str(&row);
        Ok(())
    }
}

fn hash(bytes: &[u8]) -> String {
    format!("{:032x}", xxh3_128(bytes))
}

/// Returns the media type of a file; `None` for files that are not served.
fn media_type(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "css" => Some("text/css; charset=utf-8"),
        "html" => Some("text/html; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}
