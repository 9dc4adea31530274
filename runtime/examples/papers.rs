//! `cargo run -p skiff --example papers`: makes the manual page and the shells' completions in `configs/` anew.
#![allow(clippy::disallowed_methods)] // the bans protect the runtime

use std::path::Path;

fn main() -> std::io::Result<()> {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    for (path, text) in skiff::cli::papers::papers() {
        let path = configs.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(&configs))?;
        std::fs::write(path, text)?;
    }
    Ok(())
}
