//! Writes an archive with many images to standard output: each has its own config and its own
//! small layers over one shared base.
//!
//! ```text
//! cargo run --example many_images -- 10000 > many.tar       10,000 images of 1 + 1 layers
//! cargo run --example many_images -- 1 2000 > deep.tar      one image of 1 + 2,000 layers
//! ```

use std::error::Error;
use std::io::{self, BufWriter, Write as _};

use lith_archive::{ArchiveImage, DockerArchiveWriter};
use lith_store::{DiffId, Reference};

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let images = numbers.next().transpose()?.unwrap_or(100);
    let layers = numbers.next().transpose()?.unwrap_or(1);

    let writer = DockerArchiveWriter::new(BufWriter::new(io::stdout().lock()));
    let base = layer("base", &vec![b'b'; 1 << 20])?;
    let base_id = add(&writer, &base)?;
    for image in 0..images {
        let mut diff_ids = vec![base_id];
        for number in 0..layers {
            let name = format!("layer-{image}-{number}");
            diff_ids.push(add(&writer, &layer(&name, name.as_bytes())?)?);
        }
        let diff_ids: Vec<String> = diff_ids.iter().map(|id| format!("\"{id}\"")).collect();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","created":"2024-01-01T00:00:00Z","config":{{"Labels":{{"image":"{image}"}}}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            diff_ids.join(",")
        );
        let name: Reference = format!("example.org/many:{image}").parse()?;
        writer.add_image(&ArchiveImage {
            config: config.into_bytes(),
            names: vec![name],
            ..ArchiveImage::default()
        })?;
    }
    writer.close()?.flush()?;
    Ok(())
}

fn add(writer: &DockerArchiveWriter<impl io::Write>, tar: &[u8]) -> Result<DiffId, Box<dyn Error>> {
    let diff_id = DiffId::of_bytes(tar);
    writer.add_layer(&diff_id, tar.len() as u64, &mut &*tar)?;
    Ok(diff_id)
}

/// A tar with one file.
fn layer(name: &str, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, name, content)?;
    tar.into_inner()
}
