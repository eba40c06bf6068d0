{{ source_rows('s3_exports', 'prospects_create', order_columns()) }}
