//! `muster doctor` as a process, against moto and the GitHub double.
