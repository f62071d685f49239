//! strandline.
