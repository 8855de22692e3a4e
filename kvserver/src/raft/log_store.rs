//! openraft's log storage over our log.
