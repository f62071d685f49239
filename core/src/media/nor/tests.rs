use super::*;

#[test]
fn each_size_is_refused_by_name() {
    let good = Geometry { word: 4, block_bytes: 4096, block_count: 16 };
    assert_eq!(good.check(), Ok(good));
    for (bad, error) in [
        (Geometry { word: 3, ..good }, GeometryError::Word),
        (Geometry { word: 64, ..good }, GeometryError::Word),
        (Geometry { block_bytes: 128, ..good }, GeometryError::BlockBytes),
        (Geometry { block_bytes: 5000, ..good }, GeometryError::BlockBytes),
        (Geometry { block_count: 3, ..good }, GeometryError::BlockCount),
        (Geometry { block_count: 65_536, ..good }, GeometryError::BlockCount),
    ] {
        assert_eq!(bad.check(), Err(error));
    }
}

#[test]
fn the_header_is_40_bytes_up_to_8_byte_words() {
    let at = |word| Geometry { word, block_bytes: 4096, block_count: 16 }.frames_at();
    assert_eq!([1, 4, 8, 16, 32].map(at), [40, 40, 40, 48, 64]);
}

#[test]
fn the_largest_record_fits_behind_a_torn_beginning() {
    for word in [1, 2, 4, 8, 16, 32] {
        let geometry = Geometry { word, block_bytes: 256, block_count: 4 };
        let most = geometry.max_record(4096);
        assert!(most > 0);
        let end = geometry.frames_at() + geometry.burn() + geometry.frame_bytes(RESUME_BODY + most);
        assert!(end <= 256, "word {word}: {end}");
    }
}
