//! Pickles as libtorch writes them, and hostile ones.

use proptest::prelude::*;

use super::*;

/// `{"w": tensor}` of four floats, with the given shape and strides, as torch.save writes it.
pub(crate) fn one_tensor(shape: &[i32], strides: &[i32], offset: i32) -> Vec<u8> {
    let mut bytes = b"\x80\x02}X\x01\0\0\0w".to_vec();
    bytes.extend(tensor(shape, strides, offset));
    bytes.extend(b"s.");
    bytes
}

fn tensor(shape: &[i32], strides: &[i32], offset: i32) -> Vec<u8> {
    let mut bytes = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n".to_vec();
    bytes.extend(b"X\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ");
    let int = |n: i32| [b"J".to_vec(), n.to_le_bytes().to_vec()].concat();
    let tuple = |of: &[i32]| {
        [
            b"(".to_vec(),
            of.iter().flat_map(|n| int(*n)).collect(),
            b"t".to_vec(),
        ]
        .concat()
    };
    bytes.extend(int(offset));
    bytes.extend(tuple(shape));
    bytes.extend(tuple(strides));
    bytes.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    bytes
}

fn fails(bytes: &[u8], words: &str) {
    let read = Pickle::read(bytes).and_then(|pickle| pickle.tensors().map(|_| ()));
    let message = format!("{:#}", read.expect_err(words));
    assert!(message.contains(words), "{message:?} does not say {words:?}");
}

#[test]
fn a_tensor_is_a_view_of_a_storage() {
    let bytes = one_tensor(&[2, 2], &[1, 2], 0);
    let pickle = Pickle::read(&bytes).unwrap();
    let found = pickle.tensors().unwrap();
    let [("w", tensor)] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!((tensor.storage.count, tensor.extent, tensor.offset), (4, 4, 0));
    assert_eq!((&*tensor.shape, &*tensor.strides), (&[2, 2][..], &[1, 2][..]));
    assert_eq!(pickle.length, bytes.len());
}

#[test]
fn whatever_could_run_something_is_refused_by_name() {
    fails(
        b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R.",
        "`os.system` is refused",
    );
    fails(
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02ls\x85R.",
        "`posix.system`",
    );
    fails(b"\x80\x02c__builtin__\neval\n.", "`__builtin__.eval`");
    fails(b"\x80\x02ctorch\nload\n.", "`torch.load`");
    fails(b"\x80\x02(S'ls'\nios\nsystem\n.", "0x53");
    fails(b"\x80\x02(ios\nsystem\n.", "INST");
    fails(b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ");
    fails(b"\x80\x02\x82\x01.", "EXT");
    fails(
        b"\x80\x02ccollections\nOrderedDict\n]\x85R.",
        "arguments it cannot have",
    );
    fails(b"\x80\x02K\x01)R.", "calls something that is no function");
    fails(b"\x80\x02ctorch\nFloatStorage\n}b.", "attributes");
    fails(b"\x80\x07.", "protocol 7");
}

#[test]
fn absurd_numbers_are_refused_and_cost_nothing() {
    fails(&one_tensor(&[2, 3], &[3, 1], 0), "does not fit its storage of 4");
    fails(&one_tensor(&[2], &[1], 3), "does not fit");
    fails(&one_tensor(&[2], &[-1], 3), "no size");
    fails(&one_tensor(&[2], &[1], -1), "does not fit");
    fails(&one_tensor(&[i32::MAX; 8], &[i32::MAX; 8], 0), "does not fit");
    fails(&one_tensor(&[1; 9], &[1; 9], 0), "do not go together");
    fails(&one_tensor(&[1, 1], &[1], 0), "do not go together");
    fails(b"\x80\x02X\xff\xff\xff\xffw.", "cut off");
    fails(b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "cut off");
    fails(
        b"\x80\x02]r\xff\xff\xff\xffj\0\0\0\0.",
        "nothing was remembered as 0",
    );
}

#[test]
fn nesting_costs_no_stack() {
    let deep = |open: &[u8], close: &[u8]| {
        [
            &b"\x80\x02}"[..],
            &open.repeat(200_000),
            &close.repeat(200_000),
            b".",
        ]
        .concat()
    };
    fails(&deep(b"\x85", b""), "no dictionary");
    fails(&deep(b"(", b"t"), "no dictionary");
    // A list that contains itself.
    fails(b"\x80\x02]q\0h\0a.", "no dictionary");
    fails(b"\x80\x02}q\0X\x01\0\0\0wh\0s.", "a level further in");
}

#[test]
fn broken_pickles_are_errors() {
    let twice = [
        &b"\x80\x02}(X\x01\0\0\0w"[..],
        &tensor(&[4], &[1], 0),
        b"X\x01\0\0\0w",
        &tensor(&[4], &[1], 0),
        b"u.",
    ]
    .concat();
    fails(&twice, "two tensors called `w`");
    let unnamed = [&b"\x80\x02}K\x01"[..], &tensor(&[4], &[1], 0), b"s."].concat();
    fails(&unnamed, "name is no text");
    fails(b"", "cut off");
    fails(b"\x80\x02.", "not there");
    fails(b"\x80\x02(K\x01(.", "not there");
    fails(b"\x80\x02t.", "mark");
    fails(b"\x80\x02}(K\x01u.", "no value");
    let whole = one_tensor(&[4], &[1], 0);
    for end in 0..whole.len() {
        assert!(Pickle::read(&whole[..end]).is_err(), "cut at {end}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bytes, and valid pickles with a few bytes changed, end in a value or an error.
    #[test]
    fn nothing_panics(
        noise in proptest::collection::vec(
            prop_oneof![any::<u8>(), proptest::sample::select(b"(t)}]saueQRbcXKJMNqhrj.\x85\x86\x87\x8a\x80".as_slice())],
            0..200,
        ),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let read = |bytes: &[u8]| {
            if let Ok(pickle) = Pickle::read(bytes) {
                let _ = (pickle.tensors().map(|found| found.len()), pickle.texts(), pickle.integer());
            }
        };
        read(&noise);
        read(&[b"\x80\x02".as_slice(), &noise, b"."].concat());
        let mut changed = one_tensor(&[2, 2], &[2, 1], 0);
        for (at, byte) in changes {
            let at = at.index(changed.len());
            changed[at] = byte;
        }
        read(&changed);
    }
}
