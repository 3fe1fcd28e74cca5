//! Thumbnails: which sizes there are, and making one of a file.

use std::{fs::File, io::BufReader, io::Cursor, path::Path};

use fast_image_resize::{ResizeOptions, Resizer};
use image::{
    DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader, Limits,
    codecs::jpeg::JpegEncoder, metadata::Orientation,
};

use crate::error::Error;

/// What Synapse decodes too. A pixel takes up to eight bytes, and a few copies are made.
const PIXELS_MAX: u64 = 32_000_000;
const SIDE_MAX: u32 = 65_500;
const DECODER_BYTES_MAX: u64 = 256 << 20;
const JPEG_QUALITY: u8 = 80;

/// How a thumbnail has the size that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Fills it; what protrudes is cut off.
    Crop,
    /// Fits into it.
    Scale,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Size {
    width: u32,
    height: u32,
    method: Method,
}

const fn size(width: u32, height: u32, method: Method) -> Size {
    Size { width, height, method }
}

/// Section "Thumbnails": the sizes that servers should produce. Ours are no others, so nobody can
/// fill the disk by asking for many.
const SIZES: [Size; 5] = [
    size(32, 32, Method::Crop),
    size(96, 96, Method::Crop),
    size(320, 240, Method::Scale),
    size(640, 480, Method::Scale),
    size(800, 600, Method::Scale),
];

impl Size {
    /// The smallest that is not smaller than what is asked for. A crop that is larger than those
    /// there are is a scaled image that the client crops. What is larger than all sizes is the
    /// content itself: "Servers MUST NOT return a smaller thumbnail than requested".
    pub(crate) fn for_request(width: u32, height: u32, method: Method) -> Self {
        let covers = |size: &&Self| size.width >= width && size.height >= height;
        let of = |method| SIZES.iter().filter(move |size| size.method == method).find(covers);
        let found = match method {
            // A crop has the shape of the request: a square one is of use for a square.
            Method::Crop if width == height => of(Method::Crop).or_else(|| of(Method::Scale)),
            _ => of(Method::Scale),
        };
        found.copied().unwrap_or(size(u32::MAX, u32::MAX, Method::Scale))
    }

    pub(crate) fn key(self) -> (u32, u32, u8) {
        (self.width, self.height, self.method as u8)
    }

    /// The size of the thumbnail of an image; `None` if it is the image itself.
    fn of(self, (width, height): (u32, u32)) -> Option<(u32, u32)> {
        if width <= self.width && height <= self.height {
            return None;
        }
        if self.method == Method::Crop {
            return Some((self.width.min(width), self.height.min(height)));
        }
        let (width, height) = (u64::from(width), u64::from(height));
        let (across, down) = (u64::from(self.width), u64::from(self.height));
        let (across, down) = if width * down > height * across {
            (across, (height * across).div_ceil(width))
        } else {
            ((width * down).div_ceil(height), down)
        };
        let side = |pixels: u64| u32::try_from(pixels).unwrap_or(u32::MAX).max(1);
        Some((side(across), side(down)))
    }
}

/// What a thumbnail turned out to be.
#[derive(Debug)]
pub(crate) enum Thumbnail {
    /// The image is not larger; its type.
    Original(&'static str),
    Image {
        content: Vec<u8>,
        content_type: &'static str,
    },
}

/// Reads the image in a file, whatever its type is said to be. Blocks, and may take seconds and
/// some hundred megabytes.
pub(crate) fn make(path: &Path, size: Size) -> Result<Thumbnail, Error> {
    let reader = ImageReader::new(BufReader::new(File::open(path)?));
    let mut reader = reader.with_guessed_format()?;
    let format = reader.format().ok_or_else(|| no_thumbnail(&"it is no image"))?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(SIDE_MAX), Some(SIDE_MAX));
    limits.max_alloc = Some(DECODER_BYTES_MAX);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| unreadable(&error))?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let (width, height) = decoder.dimensions();
    let turned = if is_sideways(orientation) { (height, width) } else { (width, height) };
    let Some(target) = size.of(turned) else {
        return Ok(Thumbnail::Original(format.to_mime_type()));
    };
    if u64::from(width) * u64::from(height) > PIXELS_MAX {
        return Err(Error::ImageTooLarge);
    }
    let image = DynamicImage::from_decoder(decoder).map_err(|error| unreadable(&error))?;
    let image = resized(plain(image), target, is_sideways(orientation))?;
    encode(image, orientation, format)
}

fn is_sideways(orientation: Orientation) -> bool {
    use Orientation as O;
    matches!(orientation, O::Rotate90 | O::Rotate270 | O::Rotate90FlipH | O::Rotate270FlipH)
}

/// Eight bits are enough for a thumbnail.
fn plain(image: DynamicImage) -> DynamicImage {
    use DynamicImage as I;
    match image {
        I::ImageLuma8(_) | I::ImageLumaA8(_) | I::ImageRgb8(_) | I::ImageRgba8(_) => image,
        other if other.color().has_alpha() => I::ImageRgba8(other.into_rgba8()),
        other => I::ImageRgb8(other.into_rgb8()),
    }
}

/// `target` is as the image will be seen; it is turned afterwards, when there is less of it.
fn resized(
    image: DynamicImage,
    (width, height): (u32, u32),
    sideways: bool,
) -> Result<DynamicImage, Error> {
    let (width, height) = if sideways { (height, width) } else { (width, height) };
    let mut target = DynamicImage::new(width, height, image.color());
    // Cuts off nothing where the shape is the same.
    let options = ResizeOptions::new().fit_into_destination(Some((0.5, 0.5)));
    Resizer::new().resize(&image, &mut target, &options).map_err(|error| no_thumbnail(&error))?;
    Ok(target)
}

fn encode(
    mut image: DynamicImage,
    orientation: Orientation,
    source: ImageFormat,
) -> Result<Thumbnail, Error> {
    image.apply_orientation(orientation);
    let mut content = Cursor::new(Vec::new());
    // JPEG knows no transparency.
    let content_type = if source == ImageFormat::Png || image.color().has_alpha() {
        image.write_to(&mut content, ImageFormat::Png).map_err(|error| no_thumbnail(&error))?;
        "image/png"
    } else {
        let encoder = JpegEncoder::new_with_quality(&mut content, JPEG_QUALITY);
        image.write_with_encoder(encoder).map_err(|error| no_thumbnail(&error))?;
        "image/jpeg"
    };
    Ok(Thumbnail::Image { content: content.into_inner(), content_type })
}

fn unreadable(error: &ImageError) -> Error {
    match error {
        ImageError::Limits(_) => Error::ImageTooLarge,
        error => no_thumbnail(error),
    }
}

fn no_thumbnail(why: &dyn std::fmt::Display) -> Error {
    Error::NoThumbnail(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Method, Size, size};

    #[test]
    fn the_smallest_size_that_is_not_too_small_is_chosen() {
        use Method::{Crop, Scale};
        for (request, chosen) in [
            ((1, 1, Crop), size(32, 32, Crop)),
            ((32, 32, Crop), size(32, 32, Crop)),
            ((33, 33, Crop), size(96, 96, Crop)),
            ((97, 97, Crop), size(320, 240, Scale)),
            ((64, 32, Crop), size(320, 240, Scale)),
            ((32, 32, Scale), size(320, 240, Scale)),
            ((320, 241, Scale), size(640, 480, Scale)),
            ((800, 600, Scale), size(800, 600, Scale)),
            ((801, 1, Scale), size(u32::MAX, u32::MAX, Scale)),
        ] {
            let (width, height, method) = request;
            assert_eq!(Size::for_request(width, height, method), chosen, "{request:?}");
        }
    }

    #[test]
    fn nothing_is_made_larger_or_changes_its_shape() {
        use Method::{Crop, Scale};
        for (image, wanted, made) in [
            ((640, 480), size(320, 240, Scale), Some((320, 240))),
            ((1000, 10), size(320, 240, Scale), Some((320, 4))),
            ((10, 1000), size(320, 240, Scale), Some((3, 240))),
            ((100_000, 1), size(320, 240, Scale), Some((320, 1))),
            ((320, 240), size(320, 240, Scale), None),
            ((100, 50), size(96, 96, Crop), Some((96, 50))),
            ((500, 500), size(96, 96, Crop), Some((96, 96))),
            ((96, 96), size(96, 96, Crop), None),
        ] {
            assert_eq!(wanted.of(image), made, "{image:?} as {wanted:?}");
        }
    }
}
