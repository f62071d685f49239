pub(crate) fn sizes() -> crate::table::Row { todo!() }
pub(crate) fn code() -> crate::table::Row { todo!() }
