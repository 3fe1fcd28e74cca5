//! A full disk must not take the store with it: a low-water mark and a file to sacrifice.
