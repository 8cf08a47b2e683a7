module chancery/launcher

go 1.24
