//! How large messages are in memory of which masters hold hundreds of thousands.

use wire::link::FromMaster;
use wire::v1;

#[test]
fn what_there_is_much_of_is_small() {
    let rows = [size_of::<v1::Task>(), size_of::<v1::Resource>(), size_of::<v1::TaskStatus>()];
    let sizes = [rows.as_slice(), &[size_of::<FromMaster>()]].concat();
    println!("{sizes:?}");
    let most = [384, 256, 384, 128];
    assert!(sizes.iter().zip(most).all(|(size, most)| *size <= most), "{sizes:?} of at most {most:?}");
}
