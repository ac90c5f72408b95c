//! A record's bytes, as they come back from the store.
#![no_main]

use fuzz::Sample;
use store::Row;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let row = |value: Vec<u8>| Row { key: b"key".to_vec(), version: 1, value };
    match store::record::decode::<Sample>(&row(bytes.to_vec())) {
        Ok(sample) => {
            let again = store::record::encode(&sample.record).expect("what was read can be written");
            let again = store::record::decode::<Sample>(&row(again)).expect("what was written can be read");
            assert_eq!(again, sample);
        }
        Err(error) => drop(error.to_string()),
    }
});
