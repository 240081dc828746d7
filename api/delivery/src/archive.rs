//! Files in a folder or a bucket.

use object_store::{PutMode, PutOptions, path::Path};

use crate::{Archive, Content, SendError};

/// Writes the files of a content into a folder of the archive. A file that is there already was written by an earlier
/// attempt: it stays.
pub(crate) async fn write(
    archive: &Archive,
    folder: &str,
    content: Content,
) -> Result<(), SendError> {
    let folder = Path::parse(folder)
        .map_err(|error| SendError::permanent(format!("`{folder}` is no folder: {error}")))?;
    for part in content.attachments {
        let mut path = archive.prefix.clone();
        path.extend(folder.parts());
        let path = path.join(part.name.as_str());
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match archive.store.put_opts(&path, part.bytes.into(), options).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(SendError::temporary(format!("writing {path}: {error}"))),
        }
    }
    Ok(())
}
