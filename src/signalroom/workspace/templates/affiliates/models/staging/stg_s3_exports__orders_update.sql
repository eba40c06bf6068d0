{{ source_rows('s3_exports', 'orders_update', order_columns()) }}
