//! Memory of tensors that comes and goes while their views stay (`csrc/shim.h`).

use std::ffi::{c_char, c_int, c_void};

use tch::{Device, Kind, TchError, Tensor};

use super::checked;

unsafe extern "C" {
    fn ewe_storage_release(x: *mut c_void, error: *mut c_char, room: usize) -> c_int;
    fn ewe_storage_fill(x: *mut c_void, bytes: usize, error: *mut c_char, room: usize) -> c_int;
}

/// Returns a tensor of this shape that takes the memory of one number, for its data to be set.
pub fn hollow(shape: &[i64], of: (Kind, Device)) -> Tensor {
    // Not a view of it for autograd, which such a tensor would remain with other data.
    let mut hollow = Tensor::empty([0], of);
    hollow.set_data(&Tensor::zeros([1], of).expand(shape, false));
    hollow
}

/// A flat tensor whose memory can be given back and taken again. Views of it, and what autograd
/// keeps of them, stay: they see the new memory, as in PyTorch's FSDP.
#[derive(Debug)]
pub struct Coming {
    flat: Tensor,
    is_here: bool,
}

impl Coming {
    /// Makes one of this tensor, which has its memory to itself, and gives the memory back.
    ///
    /// # Errors
    ///
    /// In libtorch's words.
    pub fn of(flat: Tensor) -> Result<Coming, TchError> {
        let mut coming = Coming { flat, is_here: true };
        coming.release()?;
        Ok(coming)
    }

    /// Returns the tensor. Without its memory it must not be read.
    pub fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// Takes memory for it, with undefined contents.
    ///
    /// # Errors
    ///
    /// In libtorch's words, when there is none.
    pub fn fill(&mut self) -> Result<(), TchError> {
        if self.is_here {
            return Ok(());
        }
        let bytes = self.flat.numel() * self.flat.kind().elt_size_in_bytes();
        // SAFETY: the pointer belongs to a live tensor, whose storage is as long as it is.
        checked(|error, room| unsafe {
            ewe_storage_fill(self.flat.as_ptr() as *mut c_void, bytes, error, room)
        })?;
        self.is_here = true;
        Ok(())
    }

    /// Gives the memory back.
    ///
    /// # Errors
    ///
    /// In libtorch's words.
    pub fn release(&mut self) -> Result<(), TchError> {
        if !self.is_here {
            return Ok(());
        }
        // SAFETY: as above; nobody reads it before it is filled again.
        checked(|error, room| unsafe {
            ewe_storage_release(self.flat.as_ptr() as *mut c_void, error, room)
        })?;
        self.is_here = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::memory;

    #[test]
    fn views_see_the_memory_that_came() {
        let count = 1 << 20;
        let flat = Tensor::ones([count], (Kind::Float, Device::Cpu));
        let leaf = Tensor::zeros([1], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let before = memory::allocated(Device::Cpu);
        tch::no_grad(|| leaf.shallow_clone().set_data(&flat.narrow(0, 2, 6).view([2, 3])));
        let mut coming = Coming::of(flat).unwrap();
        let after = memory::allocated(Device::Cpu);
        if let Some((before, after)) = before.zip(after) {
            assert!(after + 4 * count as u64 <= before + 4096, "{before} {after}");
        }
        assert_eq!(leaf.size(), [2, 3]);
        for value in [3.0, 4.0] {
            coming.fill().unwrap();
            let _ = coming.flat().shallow_clone().fill_(value);
            // What the backward pass keeps is a view of the leaf.
            let y = leaf.tr().matmul(&leaf).sum(Kind::Float);
            y.backward();
            assert_eq!(leaf.grad().double_value(&[0, 0]), 2.0 * 3.0 * value);
            crate::shim::forget_gradient(&leaf);
            coming.release().unwrap();
        }
    }
}
