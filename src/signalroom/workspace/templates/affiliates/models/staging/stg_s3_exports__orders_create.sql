{{ source_rows('s3_exports', 'orders_create', order_columns()) }}
