//! Opcodes of pickles, by the names of Python's `pickle` module.

pub const PROTO: u8 = 0x80;
pub const FRAME: u8 = 0x95;
pub const MARK: u8 = b'(';
pub const STOP: u8 = b'.';

pub const NONE: u8 = b'N';
pub const NEWTRUE: u8 = 0x88;
pub const NEWFALSE: u8 = 0x89;
pub const BINFLOAT: u8 = b'G';
pub const BININT: u8 = b'J';
pub const BININT1: u8 = b'K';
pub const BININT2: u8 = b'M';
pub const LONG1: u8 = 0x8a;
pub const BINUNICODE: u8 = b'X';
pub const SHORT_BINUNICODE: u8 = 0x8c;
pub const BINUNICODE8: u8 = 0x8d;

pub const BINPUT: u8 = b'q';
pub const LONG_BINPUT: u8 = b'r';
pub const MEMOIZE: u8 = 0x94;
pub const BINGET: u8 = b'h';
pub const LONG_BINGET: u8 = b'j';

pub const EMPTY_TUPLE: u8 = b')';
pub const TUPLE1: u8 = 0x85;
pub const TUPLE2: u8 = 0x86;
pub const TUPLE3: u8 = 0x87;
pub const TUPLE: u8 = b't';
pub const EMPTY_LIST: u8 = b']';
pub const APPEND: u8 = b'a';
pub const APPENDS: u8 = b'e';
pub const EMPTY_DICT: u8 = b'}';
pub const SETITEM: u8 = b's';
pub const SETITEMS: u8 = b'u';

pub const BUILD: u8 = b'b';
pub const GLOBAL: u8 = b'c';
pub const STACK_GLOBAL: u8 = 0x93;
pub const BINPERSID: u8 = b'Q';
pub const REDUCE: u8 = b'R';

/// Returns the name of an opcode that is refused, for messages: those that attacks use have one,
/// others only a number.
pub fn name(opcode: u8) -> String {
    let name = match opcode {
        b'i' => "INST",
        b'o' => "OBJ",
        0x81 => "NEWOBJ",
        0x92 => "NEWOBJ_EX",
        0x82..=0x84 => "EXT",
        b'P' => "PERSID",
        b'U' | b'T' => "BINSTRING",
        b'B' | b'C' | 0x8e => "BINBYTES",
        _ => return format!("{opcode:#04x}"),
    };
    format!("{name} ({opcode:#04x})")
}
