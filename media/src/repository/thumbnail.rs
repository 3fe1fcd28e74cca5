//! Thumbnails of content that is here: made when somebody asks, and kept.

use std::sync::Arc;

use super::{Inner, Media, MediaOf, Wanted};
use crate::{
    error::Error,
    files::Content,
    flights::{Done, Outcome},
    store::MediaRecord,
    thumbnails::{self, Size, Thumbnail},
};

impl Media {
    pub(super) async fn thumbnail_of(
        &self,
        media: MediaOf<'_>,
        record: &MediaRecord,
        wanted: Wanted,
    ) -> Result<Content, Error> {
        let Inner { store, flights, server_name, .. } = &*self.inner;
        let MediaOf { server, media_id } = media;
        let size = Size::for_request(wanted.width, wanted.height, wanted.method);
        if let Some(found) = store.thumbnail(server, media_id, size).await? {
            return self.open_file(&found.file, found.bytes, Some(found.content_type), None).await;
        }
        let key = (server.to_owned(), media_id.to_owned(), Some(size));
        let (own, file) = (self.clone(), record.file.clone());
        let (of, id) = (server.to_owned(), media_id.to_owned());
        let flight = flights.join(key, move |_begun| async move {
            let media = MediaOf { server: &of, media_id: &id };
            own.make_thumbnail(media, &file, size).await
        })?;
        match flight.outcome().await {
            Ok(Done::Stored) => {
                let found = store.thumbnail(server, media_id, size).await?;
                let found = found.ok_or(Error::NotFound)?;
                self.open_file(&found.file, found.bytes, Some(found.content_type), None).await
            }
            Ok(Done::Original(content_type)) => {
                let (content_type, name) = (content_type.to_owned(), record.filename.clone());
                self.open_file(&record.file, record.bytes, Some(content_type), name).await
            }
            Err(Error::ImageTooLarge) if *server != **server_name => Err(Error::RemoteTooLarge),
            Err(error) => Err(error),
        }
    }

    async fn make_thumbnail(&self, media: MediaOf<'_>, file: &str, size: Size) -> Outcome {
        let Inner { files, store, .. } = &*self.inner;
        if store.0.is_low_on_space() {
            return Err(Error::LowSpace);
        }
        let slot = Arc::clone(&self.inner.thumbnails).acquire_owned().await;
        let path = files.path(file);
        let made = tokio::task::spawn_blocking(move || {
            // Held by the work, which goes on when nobody waits for it.
            let _slot = slot;
            thumbnails::make(&path, size)
        });
        // Decoders are made for images, and this may be anything: one that panics found no image.
        let made = made.await.map_err(|_| Error::NoThumbnail("it is damaged".to_owned()))??;
        let (content, content_type) = match made {
            Thumbnail::Original(content_type) => return Ok(Done::Original(content_type)),
            Thumbnail::Image { content, content_type } => (content, content_type),
        };
        let mut new = files.create().await?;
        new.write(&content).await?;
        let file = files.finish(new).await?;
        let MediaOf { server, media_id } = media;
        let added = store.add_thumbnail(server, media_id, size, &file, content_type).await;
        self.settle(&file, added)?;
        Ok(Done::Stored)
    }
}
