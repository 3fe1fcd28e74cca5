//! Previews of URLs: the page is fetched by the server, so that its site does not learn who reads a
//! room ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediapreview_url

use std::{
    io::{BufReader, Cursor},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use image::ImageReader;
use quick_cache::sync::Cache;
use ruma::UserId;
use serde_json::{Map, Value, json};
use url::Url;

use super::{Media, Upload};
use crate::{
    error::Error,
    page,
    ports::{RemoteContent, RemoteMedia},
};

const URL_MAX: usize = 2048;
/// Of a page; what it says about itself stands at its beginning.
const PAGE_MAX: usize = 1 << 20;
const IMAGE_MAX: usize = 10 << 20;
/// For a page, and again for its image.
const PATIENCE: Duration = Duration::from_secs(10);
const KEPT: usize = 1000;
const KEPT_FOR_MS: u64 = 60 * 60 * 1000;

/// As clients get it: a JSON object.
pub type Preview = Arc<str>;

/// Previews of the last hour, with the time of each.
pub(super) struct Previews(Cache<String, (u64, Preview)>);

impl Previews {
    pub(super) fn new() -> Self {
        Self(Cache::new(KEPT))
    }
}

impl Media {
    /// What is at a URL. Fetched once within an hour, however many ask for it. A page that says
    /// nothing about itself, and what is no page, have an empty preview.
    ///
    /// # Errors
    ///
    /// [`Error::BadUrl`] for what is no `http` or `https` URL of at most 2,048 bytes,
    /// [`Error::Remote`] if it is not answered well.
    pub async fn preview(&self, user: &UserId, url: &str) -> Result<Preview, Error> {
        let url = preview_url(url).ok_or(Error::BadUrl)?;
        let remote = self.inner.remote.get().ok_or(Error::NotFound)?;
        let (cache, now) = (&self.inner.previews.0, self.inner.clock.now_ms());
        let key = url.to_string();
        cache.remove_if(&key, |(made, _)| made.saturating_add(KEPT_FOR_MS) < now);
        let make = async {
            let preview = self.make_preview(user, &url, remote.as_ref()).await?;
            Ok::<_, Error>((now, Preview::from(Value::Object(preview).to_string())))
        };
        let (_, preview) = cache.get_or_insert_async(&key, make).await?;
        Ok(preview)
    }

    async fn make_preview(
        &self,
        user: &UserId,
        url: &Url,
        remote: &dyn RemoteMedia,
    ) -> Result<Map<String, Value>, Error> {
        let _counted = self.inner.uploads.begin(user)?;
        let content = get(remote, url).await?;
        let content_type = content.content_type.clone().unwrap_or_default();
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        if content_type.starts_with("image/") {
            let mut preview = Map::new();
            self.take_image(content, &mut preview).await?;
            return Ok(preview);
        }
        if !matches!(content_type, "text/html" | "application/xhtml+xml") {
            return Ok(Map::new());
        }
        let html = beginning(content, PAGE_MAX).await?;
        let properties = page::properties(&html);
        let mut preview: Map<String, Value> =
            properties.into_iter().map(|(name, text)| (name, text.into())).collect();
        let image = preview.remove("og:image");
        let image = image.as_ref().and_then(Value::as_str).and_then(|text| url.join(text).ok());
        // What the page says of its image's size need not be true of what is there.
        preview.retain(|name, _| !name.starts_with("og:image:"));
        if let Some(image) = image.and_then(|url| preview_url(url.as_str())) {
            // A page without its image is better than none.
            if let Err(error) = self.fetch_image(&image, remote, &mut preview).await {
                tracing::debug!(%error, "the image of a page is left out of its preview");
            }
        }
        Ok(preview)
    }

    async fn fetch_image(
        &self,
        url: &Url,
        remote: &dyn RemoteMedia,
        preview: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        let content = get(remote, url).await?;
        self.take_image(content, preview).await
    }

    /// Keeps an image like an upload of nobody and says what it is.
    async fn take_image(
        &self,
        content: RemoteContent,
        preview: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        let (content_type, filename) = (content.content_type.clone(), content.filename.clone());
        let bytes = beginning(content, IMAGE_MAX + 1).await?;
        if bytes.len() > IMAGE_MAX {
            return Err(Error::RemoteTooLarge);
        }
        let (width, height) = dimensions(bytes.clone()).await?;
        let size = bytes.len();
        let upload = Upload { content_type: content_type.clone(), filename, bytes: None };
        let media_id = self.keep(upload, bytes).await?;
        let uri = format!("mxc://{}/{media_id}", self.inner.server_name);
        let said = json!({
            "og:image": uri,
            "og:image:type": content_type,
            "og:image:width": width,
            "og:image:height": height,
            "matrix:image:size": size,
        });
        if let Value::Object(said) = said {
            preview.extend(said);
        }
        Ok(())
    }

    async fn keep(&self, upload: Upload, bytes: Bytes) -> Result<String, Error> {
        let media_id = self.inner.rng.alphanumeric(super::ID_CHARS);
        let body = stream::iter([Ok::<_, std::convert::Infallible>(bytes)]);
        self.take(None, &media_id, upload, body).await?;
        Ok(media_id)
    }
}

/// Plain `http` is asked for over `https`: what comes unprotected may be anybody's.
fn preview_url(text: &str) -> Option<Url> {
    if text.len() > URL_MAX {
        return None;
    }
    let mut url = Url::parse(text).ok()?;
    if url.scheme() == "http" {
        url.set_scheme("https").ok()?;
    }
    let plain = url.username().is_empty() && url.password().is_none();
    if url.scheme() != "https" || !url.has_host() || !plain {
        return None;
    }
    url.set_fragment(None);
    Some(url)
}

async fn get(remote: &dyn RemoteMedia, url: &Url) -> Result<RemoteContent, Error> {
    let answer = remote.page(url.as_str(), PATIENCE).await;
    answer.map_err(|error| Error::Remote(error.to_string()))
}

/// At most so many bytes.
async fn beginning(mut content: RemoteContent, max: usize) -> Result<Bytes, Error> {
    let reading = async {
        let mut read = BytesMut::new();
        while read.len() < max
            && let Some(piece) = content.body.next().await
        {
            let piece = piece.map_err(|error| Error::Remote(error.to_string()))?;
            read.extend_from_slice(&piece[..piece.len().min(max - read.len())]);
        }
        Ok(read.freeze())
    };
    let read = tokio::time::timeout(PATIENCE, reading).await;
    read.unwrap_or_else(|_| Err(Error::Remote("it takes too long".to_owned())))
}

/// Read from the header of the image; its pixels are not decoded.
async fn dimensions(bytes: Bytes) -> Result<(u32, u32), Error> {
    let read = tokio::task::spawn_blocking(move || {
        let reader = ImageReader::new(BufReader::new(Cursor::new(bytes)));
        let dimensions = reader.with_guessed_format()?.into_dimensions();
        dimensions.map_err(|error| Error::NoThumbnail(error.to_string()))
    });
    read.await.unwrap_or_else(|_| Err(Error::NoThumbnail("it cannot be read".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::preview_url;

    #[test]
    fn only_ordinary_urls_are_followed() {
        let followed = |text| preview_url(text).map(String::from);
        assert_eq!(followed("http://a.test/x#y").as_deref(), Some("https://a.test/x"));
        for refused in [
            "ftp://a.test/",
            "https://user:secret@a.test/",
            "file:///etc/passwd",
            "javascript:1",
            "a.test",
            "",
        ] {
            assert_eq!(followed(refused), None, "{refused}");
        }
        assert_eq!(preview_url(&format!("https://a.test/{}", "x".repeat(3000))), None);
    }
}
