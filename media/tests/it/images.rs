//! Thumbnails of good and of hostile images.

use std::{io::Cursor, time::Duration};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use media::{Error, Method, Wanted};

use crate::world::{World, own, read};

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.into().write_to(&mut out, format).expect("it can be written");
    out.into_inner()
}

/// Left half red, right half blue.
fn halves(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, _| {
        if x < width / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) }
    })
}

async fn thumbnail(
    world: &World,
    id: &str,
    (width, height, method): (u32, u32, Method),
) -> Result<(String, Vec<u8>), Error> {
    let wanted = Wanted { width, height, method };
    let found = world.media.thumbnail(own(id), wanted, Duration::ZERO).await?;
    Ok((found.content_type.clone().unwrap_or_default(), read(found).await))
}

#[tokio::test]
async fn images_become_smaller_and_stay_what_they_show() {
    let world = World::new().await;
    let clear = RgbaImage::from_pixel(400, 400, Rgba([0, 255, 0, 10]));
    for (source, format, request, kind, dimensions) in [
        (
            DynamicImage::from(halves(1000, 500)),
            ImageFormat::Png,
            (320, 240, Method::Scale),
            "image/png",
            (320, 160),
        ),
        (
            halves(1000, 500).into(),
            ImageFormat::Jpeg,
            (320, 240, Method::Scale),
            "image/jpeg",
            (320, 160),
        ),
        (
            halves(1000, 500).into(),
            ImageFormat::Jpeg,
            (32, 32, Method::Crop),
            "image/jpeg",
            (32, 32),
        ),
        (
            halves(1000, 500).into(),
            ImageFormat::WebP,
            (90, 90, Method::Crop),
            "image/jpeg",
            (96, 96),
        ),
        (clear.into(), ImageFormat::Gif, (96, 96, Method::Crop), "image/png", (96, 96)),
        (halves(40, 90).into(), ImageFormat::Png, (32, 32, Method::Crop), "image/png", (32, 32)),
    ] {
        let id = world.upload("text/html", encoded(source, format)).await;
        let row = format!("{format:?} {request:?}");
        let (found, bytes) = thumbnail(&world, &id, request).await.expect(&row);
        assert_eq!(found, kind, "{row}");
        let image = image::load_from_memory(&bytes).expect(&row);
        assert_eq!((image.width(), image.height()), dimensions, "{row}");
        let again = thumbnail(&world, &id, request).await.expect(&row);
        assert_eq!(again, (found, bytes), "{row}: the kept one is the same");
    }
    let id = world.upload("image/png", encoded(halves(1000, 500), ImageFormat::Png)).await;
    let (_, bytes) = thumbnail(&world, &id, (96, 96, Method::Crop)).await.expect("a thumbnail");
    let image = image::load_from_memory(&bytes).expect("an image").into_rgb8();
    assert_eq!((image.get_pixel(3, 50).0, image.get_pixel(92, 50).0), ([255, 0, 0], [0, 0, 255]));
}

#[tokio::test]
async fn a_small_image_is_its_own_thumbnail_with_its_true_type() {
    let world = World::new().await;
    let source = encoded(halves(100, 50), ImageFormat::Png);
    let id = world.upload("text/html", source.clone()).await;
    for request in
        [(320, 240, Method::Scale), (2000, 2000, Method::Scale), (100, 100, Method::Crop)]
    {
        let (content_type, bytes) = thumbnail(&world, &id, request).await.expect("a thumbnail");
        assert_eq!((content_type.as_str(), &bytes), ("image/png", &source), "{request:?}");
    }
    assert_eq!(world.files().len(), 1, "nothing is made");
}

/// A PNG whose header says that it is of this size; there are no pixels for it.
fn png_of(width: u32, height: u32) -> Vec<u8> {
    let mut png = encoded(halves(8, 8), ImageFormat::Png);
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let mut crc = u32::MAX;
    for byte in &png[12..29] {
        crc ^= u32::from(*byte);
        for _bit in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    png[29..33].copy_from_slice(&(!crc).to_be_bytes());
    png
}

#[tokio::test]
async fn hostile_images_are_an_error_and_nothing_else() {
    let world = World::new().await;
    let good = encoded(halves(640, 480), ImageFormat::Png);
    let jpeg = encoded(halves(640, 480), ImageFormat::Jpeg);
    let svg = "<svg xmlns='http://www.w3.org/2000/svg' width='9999' height='9999'/>";
    let mut noise = good.clone();
    for byte in noise.iter_mut().skip(60).step_by(7) {
        *byte ^= 0x5A;
    }
    let too_large: [(&str, Vec<u8>); 3] = [
        ("a bomb of many pixels", png_of(50_000, 50_000)),
        ("just above the limit", png_of(8000, 4001)),
        ("a side that is too long", png_of(u32::MAX >> 1, 1)),
    ];
    for (row, image) in too_large {
        let id = world.upload("image/png", image).await;
        let refused = thumbnail(&world, &id, (320, 240, Method::Scale)).await;
        assert!(matches!(refused, Err(Error::ImageTooLarge)), "{row}: {refused:?}");
    }
    let unreadable: [(&str, Vec<u8>); 8] = [
        ("nothing", Vec::new()),
        ("text", b"hello".to_vec()),
        ("a vector graphic", svg.as_bytes().to_vec()),
        ("a cut PNG", good[..good.len() / 2].to_vec()),
        ("a cut header", good[..20].to_vec()),
        ("noise", noise),
        ("no pixels", png_of(0, 10)),
        ("a JPEG that is only a header", jpeg[..20].to_vec()),
    ];
    let before = world.files().len();
    for (row, image) in &unreadable {
        let id = world.upload("image/png", image.clone()).await;
        let refused = thumbnail(&world, &id, (320, 240, Method::Scale)).await;
        assert!(matches!(refused, Err(Error::NoThumbnail(_))), "{row}: {refused:?}");
    }
    assert_eq!(world.files().len(), before + unreadable.len());
}
