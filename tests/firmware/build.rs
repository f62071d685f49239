//! Hands the linker the memory map, from wherever the image is built.

use std::path::Path;
use std::{env, fs};

fn main() {
    let out = env::var_os("OUT_DIR").expect("cargo names the directory");
    fs::write(Path::new(&out).join("memory.x"), include_bytes!("memory.x")).expect("it can be written");
    println!("cargo:rustc-link-search={}", Path::new(&out).display());
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rustc-link-arg-bins=--nmagic");
    println!("cargo:rerun-if-changed=memory.x");
    println!("cargo:rerun-if-changed=build.rs");
}
