//! Random numbers as a function of a row's key, whatever other rows there are.
//!
//! Shapes: `n` rows, `d` columns.

use std::ffi::{c_char, c_int, c_void};

use tch::{Device, Kind, Tensor};

use super::checked;

unsafe extern "C" {
    fn ewe_keyed_uniform(
        keys: *mut c_void,
        salt: i64,
        columns: i64,
        numbers: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
}

/// Returns numbers from 0 to below 1, fp32 `[n, d]`, each a function of the row's key in `key_n`
/// (int64), `salt` and its column: the same on all devices.
///
/// # Panics
///
/// With libtorch's words when memory has run out, or the GPU has failed.
pub fn uniform(key_n: &Tensor, salt: i64, columns: i64) -> Tensor {
    if key_n.device() != Device::Cpu {
        return by_operations(key_n, salt, columns);
    }
    let mut numbers = std::ptr::null_mut();
    let keys = key_n.as_ptr() as *mut c_void;
    // SAFETY: the keys are int64, on the CPU and alive. On success the pointer is a new tensor.
    let drawn =
        checked(|error, room| unsafe { ewe_keyed_uniform(keys, salt, columns, &mut numbers, error, room) });
    drawn.expect("memory for random numbers");
    // SAFETY: the tensor is owned from here on.
    unsafe { Tensor::from_ptr(numbers.cast()) }
}

/// The same in libtorch's operations: 32-bit arithmetic in int64.
fn by_operations(key_n: &Tensor, salt: i64, columns: i64) -> Tensor {
    const LOW: i64 = 0xffff_ffff;
    let device = key_n.device();
    let mixed = |h: Tensor| {
        let h = h.bitwise_xor_tensor(&h.bitwise_right_shift_tensor_scalar(16));
        let h = (h * 0x85eb_ca6b_i64).bitwise_and(LOW);
        let h = h.bitwise_xor_tensor(&h.bitwise_right_shift_tensor_scalar(13));
        let h = (h * 0xc2b2_ae35_i64).bitwise_and(LOW);
        h.bitwise_xor_tensor(&h.bitwise_right_shift_tensor_scalar(16))
    };
    let own_n1 = key_n.bitwise_xor(salt).unsqueeze(1);
    let low_n1 = own_n1.bitwise_and(LOW);
    let high_n1 = own_n1.bitwise_right_shift_tensor_scalar(32).bitwise_and(LOW);
    let column_d = Tensor::arange(columns, (Kind::Int64, device));
    let column_d = (column_d * 0x9e37_79b9_i64).bitwise_and(LOW);
    let hash_nd = mixed(mixed(low_n1.bitwise_xor_tensor(&column_d)).bitwise_xor_tensor(&high_n1));
    hash_nd.bitwise_right_shift_tensor_scalar(8).to_kind(Kind::Float) * (1.0 / f64::from(1 << 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_even_and_the_same_by_operations() {
        let key_n = (Tensor::arange(300, (Kind::Int64, Device::Cpu)) - 150) * 0x1234_5678_9abc_i64;
        let drawn = uniform(&key_n, -77, 500);
        assert_eq!(drawn, by_operations(&key_n, -77, 500));
        assert_ne!(drawn, uniform(&key_n, 78, 500));
        assert!(drawn.min().double_value(&[]) >= 0.0 && drawn.max().double_value(&[]) < 1.0);
        // The mean of 150,000 even numbers is off by 0.00075 on average, that of their squares by
        // 0.0008.
        assert!((drawn.mean(Kind::Double).double_value(&[]) - 0.5).abs() < 0.004);
        assert!((drawn.square().mean(Kind::Double).double_value(&[]) - 1.0 / 3.0).abs() < 0.004);
        for along in [0i64, 1] {
            let mean = drawn.mean_dim(along, false, Kind::Double);
            assert!((mean - 0.5).abs().max().double_value(&[]) < 0.1);
        }
        let other = uniform(&(&key_n + 1), -77, 500);
        let product = ((drawn - 0.5) * (other - 0.5))
            .mean(Kind::Double)
            .double_value(&[]);
        assert!(product.abs() < 0.001, "{product}");
    }
}
