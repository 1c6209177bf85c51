//! Writes `crds/generated`.

use std::path::Path;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("generated");
    for definition in steersman_crds::all() {
        let path = dir.join(steersman_crds::file_name(&definition));
        let text = steersman_crds::yaml(&definition)?;
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
